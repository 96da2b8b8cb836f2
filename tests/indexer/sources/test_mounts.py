"""On which file systems the time of a file's last change can be relied on."""

from __future__ import annotations

import pytest

from indexer.sources.mounts import MountTable

MOUNTS = r"""27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:25 / /mnt/my\040share rw - cifs //nas/photos rw
31 27 0:26 / /mnt/fuse rw - fuse.sshfs host: rw
32 27 0:27 /Users/ann /photos rw - ext4 /dev/vda rw
33 27 0:28 /@home /home rw shared:1 - btrfs /dev/vdb rw,subvolid=256,subvol=/@home
34 33 0:28 /@home/ann/Pictures /pictures rw - btrfs /dev/vdb rw,subvolid=256,subvol=/@home
35 27 0:29 / /dev/shm rw - tmpfs tmpfs rw
damaged line
"""


@pytest.mark.parametrize(
    ("folder", "kept"),
    [
        ("/", True),
        ("/var/photos", True),
        ("/mnt/my share/2019", False),
        ("/mnt/my", True),
        ("/mnt/fuse", False),
        ("/photos/2019", False),
        ("/home/ann", True),
        ("/pictures", False),
        ("/dev/shm/x", True),
    ],
)
def test_file_systems(folder, kept):
    assert MountTable(MOUNTS).keeps_ctime(folder) == kept


def test_without_a_list_of_mounts_nothing_is_known():
    assert not MountTable("").keeps_ctime("/home")
