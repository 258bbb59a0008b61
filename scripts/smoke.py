"""smoke.py BACKEND: the installed package encodes and decodes a second of pictures, no display."""

import sys

import kvmstream


def main(expected: str) -> None:
    if kvmstream.backend != expected:
        raise SystemExit(
            f"backend is {kvmstream.backend}, not {expected}: {kvmstream.backend_reason}"
        )
    config = kvmstream.StreamConfig(source="pattern", display="640x360", fps=30)
    decoder = kvmstream.Decoder()
    packets = pictures = 0
    with kvmstream.Stream(config) as stream:
        for packet in stream:
            packets += 1
            picture = decoder.decode(packet)
            if picture is not None:
                if picture.shape != (360, 640, 3):
                    raise SystemExit(f"decoded a picture of shape {picture.shape}")
                pictures += 1
            if packets == 30:
                break
        encoder = stream.stats().encoder
    if pictures != packets:
        raise SystemExit(f"only {pictures} pictures came out of {packets} packets")
    print(f"smoke: {packets} packets, {pictures} pictures, {kvmstream.backend}, {encoder}")


if __name__ == "__main__":
    main(sys.argv[1])
