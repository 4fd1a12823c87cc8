"""A CT image made of nothing, fast, with the UIDs and pixels one wants."""

import struct

ROOT_UID = "1.2.826.0.1.3680043.10.1479"
MARKER = "QUICKSILVER^CANARY"
CT_IMAGE = b"1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE = b"1.2.840.10008.1.2.1"


def element(group: int, number: int, vr: str, value: bytes) -> bytes:
    value += (b"\x00" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
    if vr in ("OB", "OW"):
        return struct.pack("<HH2sHI", group, number, vr.encode(), 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value


def instance(study: str, series: str, uid: str, number: int, pixels: bytes, side: int) -> bytes:
    """A CT image as a Part 10 stream (PS3.10 7)."""
    u16 = struct.Struct("<H").pack
    meta = (element(2, 1, "OB", b"\x00\x01") + element(2, 2, "UI", CT_IMAGE) + element(2, 3, "UI", uid.encode())
            + element(2, 0x10, "UI", EXPLICIT_LITTLE) + element(2, 0x12, "UI", b"1.2.826.0.1.3680043.10.1"))
    dataset = (element(8, 0x16, "UI", CT_IMAGE) + element(8, 0x18, "UI", uid.encode()) + element(8, 0x20, "DA", b"20260102")
               + element(8, 0x60, "CS", b"CT") + element(0x10, 0x10, "PN", MARKER.encode()) + element(0x10, 0x20, "LO", b"CRASH-1")
               + element(0x20, 0xD, "UI", study.encode()) + element(0x20, 0xE, "UI", series.encode())
               + element(0x20, 0x13, "IS", str(number).encode()) + element(0x28, 2, "US", u16(1))
               + element(0x28, 4, "CS", b"MONOCHROME2") + element(0x28, 0x10, "US", u16(side))
               + element(0x28, 0x11, "US", u16(side)) + element(0x28, 0x100, "US", u16(16)) + element(0x28, 0x101, "US", u16(12))
               + element(0x28, 0x102, "US", u16(11)) + element(0x28, 0x103, "US", u16(0)) + element(0x7FE0, 0x10, "OW", pixels))
    return bytes(128) + b"DICM" + element(2, 0, "UL", struct.pack("<I", len(meta))) + meta + dataset
