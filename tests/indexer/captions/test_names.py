"""Which words are left of the names of files and folders."""

from __future__ import annotations

import pytest

from indexer.captions.names import describe_path

WORDS = {
    # separators, cases, counters, extensions
    "rote_Katze-02.JPG": "rote Katze",
    "red-sports-car.jpeg": "red sports car",
    "RedSportsCar2.png": "Red Sports Car",
    "redCar.final.jpg": "red Car",
    "cat (2).jpg": "cat",
    "cat.jpg.jpeg": "cat",
    "001_elephant.png": "elephant",
    "elephant001.png": "elephant",
    "12 angry men.webp": "angry men",
    "black+and+white%20cat.png": "black and white cat",
    "St. Peter's Basilica.jpg": "St Peter's Basilica",
    "iPhone on a desk.jpg": "iPhone on desk",
    "sunset 1920x1080.jpg": "sunset",
    "4x4 jeep 50mm.jpg": "jeep",
    "mountain-lake-1080p-hd.jpg": "mountain lake",
    # people and places
    "Anna und Paul.jpg": "Anna und Paul",
    "Grandma Rosa 80th birthday.jpg": "Grandma Rosa birthday",
    "New York.jpg": "New York",
    "Trip_to_Rome_2019.heic": "Trip to Rome",
    "2023-07-14 Berlin 003.jpg": "Berlin",
    "20230714_Zugspitze.jpg": "Zugspitze",
    "IMG_0123 Eiffel Tower.jpg": "Eiffel Tower",
    "IMG_20230714_101530 Birthday of Anna.jpg": "Birthday of Anna",
    "DSC01234_Hochzeit.jpg": "Hochzeit",
    "john-doe-AbCdEfGhIjk-unsplash.jpg": "john doe",
    "McDonald's in Tokyo.jpg": "McDonald's in Tokyo",
    # copies
    "Copy of dog.jpg": "dog",
    "Kopie von Hund.jpg": "Hund",
    "Hund - Kopie (2).jpg": "Hund",
    "chat - copie.jpg": "chat",
    "perro copia.jpg": "perro",
    "кот — копия.jpg": "кот",
    "赤い車のコピー.jpg": "赤い車",
    "赤い車 - コピー (3).jpg": "赤い車",
    "红色汽车 - 副本.jpg": "红色汽车",
    "고양이 - 복사본.jpg": "고양이",
    "dog_v2_final.png": "dog",
    "logo-edited-final-copy.png": "logo",
    # dates in words
    "14 July 2023 picnic.jpg": "picnic",
    "Picknick 3. August 2021.jpg": "Picknick",
    "2023年7月14日 花火.jpg": "花火",
    "march of the penguins.jpg": "march of the penguins",
    # scripts
    "赤い車.jpg": "赤い車",
    "猫.jpg": "猫",
    "ねこ.jpg": "ねこ",
    "개.jpg": "개",
    "빨간 자동차.jpg": "빨간 자동차",
    "Пляж.jpg": "Пляж",
    "КрасныйАвтомобиль.jpg": "Красный Автомобиль",
    "سيارة حمراء.jpg": "سيارة حمراء",
    "गाय_और_बछड़ा.jpg": "गाय और बछड़ा",
    "รถสีแดง.jpg": "รถสีแดง",
    "Ποδήλατο_02.jpg": "Ποδήλατο",
    "מכונית אדומה.jpg": "מכונית אדומה",
    "caf\\xe9 au lait.jpg": "café au lait",
    "Mu\u0308hle.jpg": "Mühle",  # as macOS writes it
    "l’église.jpg": "l’église",
    "ｒｅｄ　ｃａｒ.jpg": "red car",
    "čtvrtek.jpg": "čtvrtek",
    "facade.jpg": "facade",
    "cafe2020.jpg": "cafe",
    "abc12xyz.jpg": "abc xyz",
    "abcd1efgh2ijkl.jpg": "abcd efgh ijkl",
    "RedCarBig.jpg": "Red Car Big",
    "Donaudampfschifffahrtsgesellschaft.jpg": "Donaudampfschifffahrtsgesellschaft",
}
NOTHING = [
    "IMG_0123.jpg", "img0123.jpg", "IMG_0123 (2).JPG", "IMG_E0123.HEIC", "DSC01234.JPG",
    "DSC_0042-2.NEF", "_DSC0042.jpg", "DSCN1234.jpg", "DSCF0001.RAF", "P1010023.JPG",
    "PXL_20230714_101530123.jpg", "PXL_20230714_101530123.PORTRAIT-01.COVER.jpg",
    "MVIMG_20190102_101112.jpg", "IMG_20230714_101530_HDR.jpg", "IMG-20230714-WA0001.jpg",
    "20230714_101530.jpg", "2023-07-14 10.15.30.jpg", "1689329730123.jpg", "00000042.png",
    "SAM_0123.JPG", "CIMG0123.JPG", "100_1234.JPG", "GOPR0123.JPG", "DJI_0042.JPG", "R0012345.JPG",
    "Screenshot 2023-07-14 at 10.15.30 AM.png", "Screenshot_20230714-101530.png",
    "Screen Shot 2019-01-02 at 3.04.05 PM.png", "Bildschirmfoto 2023-07-14 um 10.15.30.png",
    "Capture d’écran 2023-07-14 à 10.15.30.png", "Captura de pantalla (12).png",
    "スクリーンショット 2023-07-14 10.15.30.png", "Снимок экрана 2023-07-14 в 10.15.30.png",
    "屏幕截图 2023-07-14 101530.png", "스크린샷 2023-07-14 오전 10.15.30.png",
    "WhatsApp Image 2023-07-14 at 10.15.30.jpeg", "signal-2023-07-14-101530.jpg",
    "FB_IMG_1689329730123.jpg", "received_1234567890.jpeg", "Snapchat-123456789.jpg",
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301.jpg", "d41d8cd98f00b204e9800998ecf8427e.png",
    "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3.jpg", "dQw4w9WgXcQ.jpg", "B07XJ8C8F5.jpg",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV.png", "71x9f8aZzLL._AC_SL1500_.jpg",
    "12345678_1020304050_987654321_n.jpg", "pexels-photo-123456.jpeg", "image.png",
    "image (3).png",
    "Foto 23.07.22, 12 34 56.jpg", "photo_2023-07-14_10-15-30.jpg", "Bild 12.jpg",
    "Unbenannt-1.png",
    "download (4).jpg", "untitled.png", "写真 12.jpg", "画像1.png", "2023年7月14日.jpg",
    "14 July 2023.jpg", "final.png", "new.jpg", "a.jpg", "xx.jpg", "scan0001.tif", "____.jpg",
    ".jpg",
    "deadbeefcafebabe.jpg", "abcdef1abcd.jpg", "aBcDeFgH.jpg", "xkcdqwrt.png",
    "xkcdqw.png", "qx7rtz.png",
    "maxresdefault.jpg", "\\x83e\\x83X.jpg",
]  # fmt: skip
FOLDERS = {
    "/home/ada/Pictures/2019 Rome/IMG_0123.jpg": "Rome",
    "/home/ada/Pictures/2019 Rome/DCIM/100CANON/IMG_0123.jpg": "Rome",
    "/home/ada/Pictures/Rome/2019/07/14/IMG_0123.jpg": "Rome",
    "/home/ada/Pictures/Rome/cat.jpg": "cat",  # what the file says is more than enough
    "/home/ada/Pictures/Пляж/IMG_0123.jpg": "Пляж",
    "/home/ada/Pictures/IMG_0123.jpg": None,
    "/home/ada/IMG_0123.jpg": None,
    "/Users/ada/Desktop/IMG_0123.jpg": None,
    "/photos/IMG_0123.jpg": None,
    "/mnt/disk/Photos/2020/IMG_0123.jpg": None,
    "/data/train.tar#pets/0001.jpg": "pets",
    "/data/all/birds.parquet#00000012": "birds",
    "s3://bucket-of-ada/pets/0001.jpg": "pets",
    "https://images.example.org/red%20cars/0001.jpg?width=300": "red cars",
    "https://images.example.org/0001.jpg": None,
    "/data/all/1/2/3/4/5.jpg": None,
}


@pytest.mark.parametrize("name", WORDS)
def test_the_words_of_a_name(name):
    assert describe_path(f"/photos/{name}") == WORDS[name]


@pytest.mark.parametrize("name", NOTHING)
def test_a_name_without_words(name):
    assert describe_path(f"/photos/{name}") is None


@pytest.mark.parametrize("path", FOLDERS)
def test_the_folder_of_a_name_without_words(path):
    assert describe_path(path) == FOLDERS[path]
