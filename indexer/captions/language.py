"""Codes of languages: which there are, and whether a word in a name or a key is one of them."""

from __future__ import annotations

import re

TAG_PATTERN = re.compile(  # BCP 47, without private use
    r"(?P<language>[a-z]{2,3})(?P<rest>(-[a-z]{4})?(-([a-z]{2}|\d{3}))?(-([a-z\d]{5,8}|\d[a-z\d]{3}))*)"
)

# ISO 639-1, each with its codes of ISO 639-2 and 639-3; and codes that were withdrawn
_TWO_LETTER_LIST = (
    "aa aar|ab abk|ae ave|af afr|ak aka|am amh|an arg|ar ara arb|as asm|av ava|ay aym ayr|az aze "
    "azj|ba bak|be bel|bg bul|bh bih|bi bis|bm bam|bn ben|bo bod tib|br bre|bs bos|ca cat|ce che|"
    "ch cha|co cos|cr cre|cs ces cze|cu chu|cv chv|cy cym wel|da dan|de deu ger|dv div|dz dzo|"
    "ee ewe|el ell gre|en eng|eo epo|es spa|et est ekk|eu eus baq|fa fas per pes|ff ful fuv|fi fin|"
    "fj fij|fo fao|fr fra fre|fy fry|ga gle|gd gla|gl glg|gn grn|gu guj|gv glv|ha hau|he heb iw|"
    "hi hin|ho hmo|hr hrv|ht hat|hu hun|hy hye arm|hz her|ia ina|id ind in|ie ile|ig ibo|ii iii|"
    "ik ipk|io ido|is isl ice|it ita|iu iku|ja jpn|jv jav jw|ka kat geo|kg kon|ki kik|kj kua|"
    "kk kaz|kl kal|km khm|kn kan|ko kor|kr kau|ks kas|ku kur kmr|kv kom|kw cor|ky kir|la lat|"
    "lb ltz|lg lug|li lim|ln lin|lo lao|lt lit|lu lub|lv lav lvs|mg mlg plt|mh mah|mi mri mao|"
    "mk mkd mac|ml mal|mn mon khk|mr mar|ms msa may zsm|mt mlt|my mya bur|na nau|nb nob|nd nde|"
    "ne nep npi|ng ndo|nl nld dut|nn nno|no nor|nr nbl|nv nav|ny nya|oc oci|oj oji|om orm gaz|"
    "or ori ory|os oss|pa pan|pi pli|pl pol|ps pus pbt|pt por|qu que|rm roh|rn run|ro ron rum mo|"
    "ru rus|rw kin|sa san|sc srd|sd snd|se sme|sg sag|si sin|sk slk slo|sl slv|sm smo|sn sna|"
    "so som|sq sqi alb als|sr srp|ss ssw|st sot|su sun|sv swe|sw swa swh|ta tam|te tel|tg tgk|"
    "th tha|ti tir|tk tuk|tl tgl|tn tsn|to ton|tr tur|ts tso|tt tat|tw twi|ty tah|ug uig|uk ukr|"
    "ur urd|uz uzb uzn|ve ven|vi vie|vo vol|wa wln|wo wol|xh xho|yi yid ji ydd|yo yor|za zha|"
    "zh zho chi|zu zul"
)
SHORTEST_CODES = {
    code: codes.split()[0] for codes in _TWO_LETTER_LIST.split("|") for code in codes.split()
}

# those without a shorter form that texts are likely to have
_THREE_LETTER_LIST = (
    "ace acm acq aeb ajp apc ars ary arz ast awa ban bar bcl bem ber bho bjn bug ceb cgg chm chr "
    "cjk ckb cmn cnr crh csb dik din doi dsb dyu ext fil fon frp frr fur gil glk gom gsw guz hak "
    "haw hif hil hmn hne hsb hsn ilo kaa kab kac kam kbd kbp kea kha khk kjh kmb knc kok krc kri "
    "lad ldn lij lmo lrc ltg lua luo lus lzh mad mag mai mdf mfe mhr min mni mnw mos mrj mwl myv "
    "mzn nah nan nap nds new niu nov nso nus nwc oss pag pam pap pcd pcm pdc pms pnb prg prs quc "
    "quy quz rmy rom rup sah sat scn sco sgs shn skr smj smn sms srn stq syr szl taq tet tpi trv "
    "tum tyv tzm udm umb und vec vls vmw vro wal war wuu xal xmf yue yua zea zgh zza mul"
)
THREE_LETTER_CODES = frozenset(_THREE_LETTER_LIST.split())

_EVERYDAY_LIST = (
    "als arm art bam ban bar bug cat chi cor din fin her ice ido in ind ipk jam ji kin lad lao lat "
    "lim lin lit mac mad mag mah mal man mao mar may min mon mul nap nav new nor nov pan pap per "
    "pol pus ram run sag san sin slo som sot sun tam tat tel ton tum van ven war wal"
)
EVERYDAY_WORDS = frozenset(_EVERYDAY_LIST.split())
"""Codes that are words of other meaning in names of files and columns: `text_new`, `x.sun.txt`."""

_LABEL_LIST = "am an as be he id in is it me my no of oh or ps so to tv us we"
LABELS = frozenset(_LABEL_LIST.split())
"""Codes that are also words before a colon, and names of columns: `No: 17`, `id`."""


def parse_language_tag(text: str) -> str | None:
    """Return what is said to be a language as a BCP 47 tag in lower case; None if it cannot be one.

    "zh_Hans" is "zh-hans", and "eng" is "en". A code that is not known is kept.
    """
    match = TAG_PATTERN.fullmatch(text.strip().lower().replace("_", "-"))
    if not match:
        return None
    return SHORTEST_CODES.get(match["language"], match["language"]) + match["rest"]


def parse_known_language(text: str) -> str | None:
    """Return the language that a word in a name or a key is the code of: `x.ja.txt`, `caption_de`.
    None if it more likely means something else."""
    match = TAG_PATTERN.fullmatch(text.strip().lower().replace("_", "-"))
    if not match:
        return None
    code, rest = match["language"], match["rest"]
    if (code not in SHORTEST_CODES and code not in THREE_LETTER_CODES) or (
        code in EVERYDAY_WORDS and not rest
    ):
        return None
    return SHORTEST_CODES.get(code, code) + rest
