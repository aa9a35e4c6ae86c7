#!/usr/bin/env python3
"""Writes what looks like a kernel image. usage: fake_image.py FILE RELEASE"""
import sys

text = sys.argv[2].encode() + b" (somebody) #1 SMP\0"
head = bytearray(0x400)
head[0x202:0x206], head[0x20e:0x210] = b"HdrS", (0x100).to_bytes(2, "little")
head[0x300:0x300 + len(text)] = text
with open(sys.argv[1], "wb") as f:
    f.write(head)
