"""Function words by language: articles, prepositions, pronouns, conjunctions, auxiliary verbs.

They say nothing about an image, but are rare in a small collection of captions, where their IDF is
therefore high. A word that names a thing in another language ("hat", "man", "sea") stays a word of
a query, whose language is unknown, unless other function words tell it. It is left out of texts in
its own language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

# function words of one language, things in another
HOMOGRAPHS = """
    ad ai ale ano at bag ban bang bare ben bin bio by car care come dal dan dans die dies dig
    dog door ellen end era face ham hans hat inn is jim kim las les mai mais man men mer mere
    mine mint most mot ora plus pod pro sale sam sea sera sin sit solo son su sub sue sur tan
    ten till tom ton van var vers war
"""

STOP_WORDS = {  # ISO 639-1
    "en": """a about above after again against all also am among an and any are as at be because
    been before being below beside between both but by could did do does doing during each either
    few for from had has have having he her here hers herself him himself his how i if in into is it
    its itself just me more most must my myself near no nor not of off on once onto or other our
    ours over own per same shall she should so some such than that the their theirs them then there
    these they this those through to too toward towards under until upon us very was we were what
    when where which while who whom whose why with within without would you your yours""",
    "de": """aber alle allem allen aller alles als also am an andere anderen auch auf aus bei beim
    bin bis bist da damit dann das dass dazu dein deine dem den denn der deren des dessen dich die
    dies diese diesem diesen dieser dieses dir doch dort du durch ein eine einem einen einer eines
    er es etwas euch euer eure für gegen habe haben hat hatte hatten hier hin hinter ich ihm ihn
    ihnen ihr ihre ihrem ihren ihrer im in ins ist jede jedem jeden jeder jedes jene kann kein keine
    keinen können man mehr mein meine meinem meinen meiner mich mir mit muss nach neben nicht nichts
    noch nun nur ob oder ohne schon sehr sein seine seinem seinen seiner selbst sich sie sind so
    solche soll sondern sonst über um und uns unser unsere unten unter vom von vor war waren warum
    was wegen weil welche welcher welches wenn wer werden wie wieder wir wird wo wurde wurden zu zum
    zur zwischen""",
    "fr": """à afin ai ainsi alors après as au aucun aussi autre autres aux avant avec avoir car ce
    ceci cela celle celles celui ces cet cette ceux chaque chez comme contre dans de depuis derrière
    des dessous dessus devant donc dont du elle elles en encore entre est et eu eux ici il ils je
    jusque la là le les leur leurs lors lui ma mais me même mes moi mon ne ni nos notre nous on ont
    ou où par parce pas pendant plus pour pourquoi puis quand que quel quelle quelles quels qui quoi
    sa sans se selon sera ses si son sont sous soit suis sur ta te tes toi ton tous tout toute
    toutes très tu un une vers voici vos votre vous y étaient était être""",
    "es": """a al algo alguna alguno algunos ante antes aquel aquella aquí así aunque bajo cada como
    cómo con contra cual cuando de del desde donde dónde durante e el él ella ellas ellos en entre
    era eran es esa esas ese eso esos esta está están estas este esto estos fue fueron ha había han
    hasta hay la las le les lo los más me mi mientras mis mucho muchos muy nada ni no nos nosotros
    nuestra nuestro o os otra otras otro otros para pero poco por porque que qué quien quién se sea
    según ser si sí sido sin sobre son su sus también tan tanto te tiene tienen tu tus un una unas
    uno unos vosotros y ya yo""",
    "it": """a abbiamo ad agli ai al alcuni alla alle allo anche ancora avere c che chi ci come con
    contro cui da dagli dai dal dalla dalle dallo degli dei del della delle dello dentro di dietro
    dopo dove durante e è ed erano era essere fra gli ha hanno ho i il in io la le lei li lo loro
    lui ma me mentre mi mia mie miei mio molto ne negli nei nel nella nelle nello noi non nostra
    nostro o ogni ora per perché più poi prima quale quando quanto quegli quel quella quelle quelli
    quello questa queste questi questo qui sarà se sei senza si sia siamo siete solo sono sopra
    sotto sta stata stato su sua sue sugli sui sul sulla sulle sullo suo suoi tra tu tua tuo tutta
    tutte tutti tutto un una uno vi voi vostra vostro""",
    "pt": """à ainda além algo alguma algumas alguns ante antes ao aos após aquela aquele aquilo as
    às assim até cada com como contra da das de dela dele deles depois desde desta deste do dos
    durante e é ela elas ele eles em enquanto entre era eram essa essas esse esses esta está estão
    estas este estes eu foi foram há isso isto já lhe lhes mais mas me mesmo meu meus minha minhas
    muito muitos na não nas nem no nos nós nossa nosso num numa o onde os ou para pela pelas pelo
    pelos per por porque quando que quem são se sem ser seu seus sob sobre sua suas também te tem
    têm teu tua tudo um uma umas uns você vocês vos""",
    "nl": """aan achter al alle als andere ben bij binnen boven daar dan dat de deze die dit doen
    door dus een eens en er ge geen had hadden heb hebben heeft hem het hier hij hoe hun ik in is ja
    je jij jouw jullie kan kon kunnen maar me men met mij mijn moet na naar naast niet niets nog nu
    of om omdat onder ons onze ook op over reeds te tegen tijdens toch toen tot tussen u uit uw van
    vanaf veel via vol voor waar waren was wat werd wie wij wil worden wordt ze zich zij zijn zo
    zonder zou""",
    "sv": """alla allt att av bakom bara blev bli blir blivit de dem den denna deras dess dessa det
    detta dig din dina ditt du där efter eller en ett från framför för ha hade han hans har henne
    hennes hon honom hos hur här i icke in ingen inom inte jag ju kan kunde man med mellan men mer
    mig min mina mitt mot mycket något några ni nu när och om oss på samt sedan sig sin sina sitt
    själv ska skulle som så till under upp ur ut utan vad var vara varför varit vem vi vid vilka
    vilken vilket vår våra vårt än är åt över""",
    "da": """af alle alt anden at bag bare blev blive bliver da de dem den denne der deres det dette
    dig din dine disse dit dog du efter ej eller en end er et for foran fordi fra før ham han hans
    har havde have hen hende hendes her hos hun hvad hvem hver hvilken hvis hvor hvordan hvorfor i
    ikke ind ingen jeg jer jeres jo kan kun kunne man mange med meget mellem men mere mig min mine
    mit mod ned nej noget nogle nok nu når og også om op os over på sig sin sine sit skal skulle som
    så til ud uden under var ved vi vil ville være været vor""",
    "no": """alle alt at av bak bare ble bli blir blitt både da de dem den denne der dere deres det
    dette di din disse ditt du eller en enn er et etter for foran fordi fra få før ha hadde han hans
    har hennes henne her hos hun hva hvem hver hvilken hvis hvor hvordan hvorfor i ikke ingen inn
    jeg kan kun kunne man mange med meg mellom men mer mest min mitt mot ned nei noe noen nå når og
    også om opp oss over på seg selv sin sine sitt skal skulle slik som så til ut uten under var ved
    vi vil ville vår være vært""",
    "fi": """ei eikä eivät ennen että he heidän heille hän hänen häntä itse ja jo joka jokainen joko
    jos jossa josta jota jotka jotta juuri kaikki kanssa kautta koska kuin kuinka kun kuten
    kuitenkin me meidän mihin mikä mikäli miksi millä minkä minun minä missä mistä mitkä mitä mukaan
    mutta muut myös ne niiden niin niissä niitä no nuo nyt näiden nämä näin näissä ole olemme olen
    olet olevat oli olisi olivat olla ollut on ovat se sekä sen siellä siihen siinä siis siitä sillä
    sinun sinä sitä tai takana tämä tämän tässä tästä tätä te teidän tuo vaan vai vaikka vielä
    yli""",
    "hu": """a abban ahhoz ahogy aki akik alatt által általában amely amelyek ami amikor annak arra
    arról át az azok azon azonban azért azt aztán azután be belül benne csak de ebben egy egyik
    egyéb ehhez ekkor el ellen elé én ennek erre és ez ezek ezen ezt fel felé fölött ha hanem hogy
    hogyan illetve is ismét itt jobban ki kívül között közül le lehet lenne lesz lett maga még meg
    mellett mely melyek mert mi miért mikor milyen mind minden mint mivel mögött már más nagyon ne
    nekem neki nem nincs olyan ott pedig rá s saját sem semmi sok össze ő ők őket szerint során
    tehát ti úgy után vagy vagyok valaki valami van vannak való volt voltak vissza""",
    "ro": """a acea aceasta această acel acela acele acelea aceste acestea acești acest acesta ai al
    ale am ar are aș asta așa astfel asupra atât atunci au avea avem avut că căci când care cât câte
    ce cea cel cele celor chiar ci cine cu cum da dacă dar de deasupra deci decât deja despre deși
    din dintre doar după ea ei el ele era este eu face fără fi fie fost iar îi îl în înainte între
    îmi își la lângă le li lor lui mai mea meu mi mult mă ne nici nimic niște noastră noi nostru nu
    o ori pe pentru peste până prin sa sale sau se sub sunt și ta te toate tot tu un una unde unei
    unor unui unul va vă voi vor""",
    "tr": """acaba ama ancak artık asla aslında ayrıca bana bazı belki ben bence beni benim bile bir
    biri birkaç biz bize bizi bizim bu buna bunda bundan bunlar bunu bunun böyle da daha de değil
    diye en fakat gibi göre hangi hatta hem hep hepsi her hiç için ile ise işte kadar ki kim kimi
    kimse mı mi mu mü nasıl ne neden nerede niye niçin o olan olarak ona ondan onlar onların onu
    onun oysa öyle pek sana sen seni senin siz size sizin sonra şey şu tüm ve veya ya yani yine
    zaten çok çünkü üzere""",
    "pl": """a aby albo ale ani aż bardzo bez będą będzie bo by być był była było były co czy czyli
    dla dlaczego do gdy gdzie go i ich ile im inne ja jak jako je jego jej jest jestem jeszcze jeśli
    już każdy kiedy kto który która które których którym lub ma mają mi mnie mną może mu my na nad
    nam nami nas nasz nasza nich nie nim niż no o obok od on ona one oni oraz po pod podczas ponad
    poza przed przez przy są się sobie swoje ta tak także tam te tego tej ten to tu tutaj ty tych
    tylko tym u w was wam we wszystko wy więc z za zawsze ze że""",
    "cs": """a aby ale ani ano asi až bez bude by byl byla byli bylo být co což či další do ho i ja
    jak jako je jeho jej její jejich jen jenž ještě ji jí jich jim jimi jinak již jsem jsi jsme jsou
    k kam kde kdo když ke která které který kteří ku má mají mě mezi mi mít mne mnou moje můj my na
    nad nám námi nás náš naše ne nebo než něco není nic o od on ona oni ono po pod podle pokud pro
    proč proto protože před přes při s se si sice své svůj ta tak také tam te tě ten tento těch tím
    to tobě toho tohoto tom tomu tu ty u už v vám váš ve vedle vy všechno z za zda ze že""",
    "sk": """a aby aj ako ale alebo ani áno asi až bez bol bola boli bolo bude by byť čo do ho i iba
    ich je jeho jej ju k kam kde kto ktorá ktoré ktorý keď lebo len ma má majú medzi mi mne môj my
    na nad nám nás náš nie o od on ona oni ono po pod podľa pre pred prečo pri s sa si som sme sú
    svoj ta tá tak tam te ten tento tí to toho tom tomu tu ty u už v vám vás ve vo vy z za zo že""",
    "ru": """а без более будет будто бы был была были было быть в вам вас весь во вот все всё всех
    вы где да даже для до его ее её если есть еще ещё же за и из или им их к как какая какой ко
    когда кто ли между меня мне много может мой моя мы на над надо нам нас наш не него нее неё нет
    ни них но ну о об один он она они оно от перед по под после потом потому почти при про с сам
    свой свою себе себя со так также такой там тебя тем теперь то тоже того только том тот ты у уже
    хоть чего чем через что чтобы эта эти это этой этом этот я""",
    "uk": """а або адже але без би бо був була були було бути в вам вас ви від вже він вона вони
    воно все всі де для до його є ж же з за зі і із її й їх їхній коли кому ми мій між мене мені на
    над нам нас наш не нею них ні о от перед по під після при про та так також там те тебе ти тим то
    того тобі тоді у хто це цей ця ці через чи чого що щоб я як яка яке який які""",
    "bg": """а ако аз без беше би бъде в вас ви вие все във върху го да дали до докато е един една
    едно ето за зад защо защото и из или им има й как като към ли ме между ми може мен му на над най
    нас не него нея ни ние но ново о от още под пред през при с са само се си след сме сте съм със
    така тази там твърде те тези ти това този той тя у че ще я""",
    "sr": """a ako ali bez bi bih bila bili bilo bio biti da do dok ga gde gdje i ih ili im iz iza
    iako ja je jer joj još ju kad kada kako kao ko koja koje koji kojim kod kroz li me mene mi mu na
    nad nakon nam nas naš ne nego neka neki nešto ni nije nisam nisu njega njegov njih no o od oko
    on ona oni ono ova ovaj ovo pa po pod pored pre pri prije s sa sam samo se si smo ste su sve svi
    svoj ta tada taj tako te ti to toj tu u uz vam vas već vi za zbog što šta će ću""",
    "el": """ακόμα αλλά αν ανάμεσα από αυτά αυτή αυτό αυτοί αυτός για γιατί δε δεν δίπλα δικό εγώ
    εδώ εκεί εκείνο εκείνος ένα έναν ένας έχει έχουν ή η ήταν θα και κάθε κάτι κάτω κατά κι μα μας
    με μέσα μετά μέχρι μη μην μια μία μιας μου μπροστά να ο οι όλα όμως όπου όπως όταν ότι ούτε πάνω
    παρά πίσω πιο ποιος ποια ποιο που πριν προς πως πώς σαν σας σε στα στη στην στις στο στον στους
    σου τα τι τη την της τις το τον του τους των χωρίς ως είναι είμαι είσαι""",
    "ar": """أم أما أن أنا أنت أنه أو أي أين إذا إلا إلى إن أيضا بعد بعض بل بها به بين تحت تلك التي
    الذي الذين ثم جدا حتى حول حيث خلال دون ذلك سوف على عليه عليها عن عند عندما غير ف فقط فوق في فيه
    فيها قبل قد كان كانت كل كما كيف ل لا لأن لكن لم لماذا لن له لها لهم لو لي ليس ما ماذا متى مثل مع
    من منه منها منذ نحن نحو هذا هذه هل هم هنا هناك هو هي و وراء ولا يا""",
    "fa": """آن آنها آیا از است اگر اما ای این با بر برای بدون بود بودند به بین بی تا تو چرا چه چون
    چیست خود در را زیر شد شده شما شود می من ما مثل نه نیز نیست و ولی هر هست هستند هم همه یا یک که
    کجا کرد کرده کند کنار""",
    "he": """את של לא על זה זאת זו הוא היא הם הן אני אתה אתם אנחנו עם כל מה מי לי לו לה לך לנו להם
    גם אם היה הייתה היו יש אין אבל או כי רק בין אל כמו עד כך שם כאן פה אז לפני אחרי מתחת מעל אשר אלה
    אלו איך איפה מתי למה מאוד שלי שלו שלה שלנו שלהם שלך אותו אותה ליד בתוך בלי""",
    "hi": """अपना अपनी अपने अब आप इन इस इसका इसकी इसके इसे उन उनका उनकी उनके उस उसका उसकी उसके उसे
    एक ऐसे और कई कब कर करता करती करते करना करने कहाँ का कि किया किसी की कुछ के को कोई कौन क्या गई गए
    गया जब जहाँ जा जैसे जो तक तब तो था थी थे द्वारा न नहीं ने पर बहुत बीच भी भीतर मगर में मैं यदि यह
    यहाँ या ये रहा रही रहे लिए लेकिन व वह वहाँ वे सभी साथ से हम हुआ हुई हुए है हैं हो होता होती
    होते""",
    "bn": """আমি আমার আর আছে এই এক একটি এটা এবং এর ও ওই কি কিন্তু কে কোন জন্য তার তারা তিনি তুমি
    থেকে দিয়ে না পর মধ্যে যা যে সঙ্গে সাথে সে হয় হয়ে হচ্ছে""",
    "ta": """அது அந்த அவர் அவள் அவன் அல்லது ஆனால் இது இந்த இல்லை இருந்து உள்ள என என்ற என்று ஒரு ஓர்
    கொண்டு நான் நீ பற்றி போன்ற மற்றும் மீது மேல் வரை""",
    "ca": """a això al als altra altre altres amb aquell aquella aquest aquesta aquests aquí cada
    com contra damunt de del dels des dins després e el ell ella elles ells els en encara entre era
    eren és essent està estan fins ha han he hi ho i ja jo l la les li llur lo ma més mentre meu
    meva mi molt ni no nosaltres nostra nostre o on pel pels per però perquè què quan que qui sense
    ser seu seva si sobre sota són sou també te teu teva tot tota tots un una unes uns vostra
    vostre""",
    "id": """ada adalah akan aku agar anda antara apa apakah atas atau bagi bahwa bawah belum
    beberapa bisa bukan dalam dan dapat dari dengan di dia hanya hingga ia ini itu jika juga kalau
    kami kamu karena ke kepada ketika kita lagi lain lebih masih maka mereka namun oleh pada para
    pun saat saja sambil sangat saya seperti sebagai sebuah sedang sekitar semua seorang serta
    setelah siapa sudah tanpa tapi telah tentang tetapi tidak untuk yaitu yang""",
    "vi": """ai bạn bằng bị bởi cả các cái chỉ chiếc cho chưa có cùng cũng của đã đang đây đến đó
    được gì giữa hay hoặc họ hơn khi không là lại làm mà mình mỗi một nào nên này nếu như nhưng
    những nó ở ra rằng rất rồi sau sẽ tại tất thì theo tôi trên trong trước từ tự và vẫn vào vậy về
    vì với""",
    "ko": """가 각 것 게다가 과 그 그것 그녀 그는 그들 그래서 그러나 그런 그리고 까지
    나 나는 내 너 는 대한 도 동안 때 때문에 또 또는 로 를 매우 모든 및 부터 뿐 수 아니다
    안 어떤 에 에게 에서 와 왜 우리 위해 은 을 의 이 이것 이다 이런 있는 있다 저 저것
    저는 정말 제 중 처럼 하고 하는 하다 한 할 함께 해""",
}

# Function words of scripts without spaces. A particle of one kana stands between other characters.
PARTICLES = re.compile(
    r"(?<![\u3041-\u3096])(?:の(?:中|上|下|前|横)[のにで]|[のがをにはでともへや]|から|まで|より|には|では|とは|との|への"
    r"|です|ます|した|して|ている|がある|がいる|のある|のいる|という|[こそあ][のれ])(?![\u3041-\u3096])"
    r"|^[一也从他你和她它对就很我把是有被那都这不]$|[的了着与是]|在(?!线)|ใน|บน|ใต้|ที่|ของ|และ|หรือ|กับ|อยู่|กำลัง|ซึ่ง"
)


@cache
def load_stop_words() -> dict[str, frozenset[str]]:
    """Language -> its function words, in lower case."""
    return {language: frozenset(words.split()) for language, words in STOP_WORDS.items()}


@cache
def is_stop_word(word: str) -> bool:
    """Whether `word`, in lower case, is a function word of a language and no thing in another."""
    lists = load_stop_words().values()
    return word not in HOMOGRAPHS.split() and any(word in words for words in lists)


def is_stop_word_of(word: str, languages: Sequence[str]) -> bool:
    """Whether `word`, in lower case, is a function word of all `languages`, of which there are."""
    lists = load_stop_words()
    return bool(languages) and all(word in lists.get(code, ()) for code in languages)


def guess_languages(words: Sequence[str]) -> tuple[str, ...]:
    """The languages that have the most of the function words among `words`, in lower case.

    Homographs decide only between languages that have the same number, and never against English.
    Empty if no word is a function word.
    """
    lists = load_stop_words()
    homographs = set(HOMOGRAPHS.split()).intersection(words)
    votes = Counter(
        language
        for word in filter(is_stop_word, words)
        for language, listed in lists.items()
        if word in listed
    )
    most = max(votes.values(), default=0)
    best = tuple(language for language, count in votes.items() if count == most)
    if "en" in best:
        return best
    return tuple(code for code in best if not lists[code].isdisjoint(homographs)) or best
