"""Writes a directory as an image archive, the way nixpkgs streams layered images.

Two passes over the files: the first makes each layer's tar only to hash it,
the second makes it again on standard output. One layer for each directory of
the first two levels, at most 100.
"""

import hashlib
import io
import json
import os
import sys
import tarfile


class Hashing:
    def __init__(self):
        self.sha = hashlib.sha256()
        self.size = 0

    def write(self, data):
        self.sha.update(data)
        self.size += len(data)
        return len(data)


def parts(root):
    names = []
    for first in sorted(os.listdir(root)):
        path = os.path.join(root, first)
        if os.path.isdir(path) and not os.path.islink(path):
            names += [os.path.join(first, second) for second in sorted(os.listdir(path))]
        else:
            names.append(first)
    head, tail = names[:99], names[99:]
    return [[name] for name in head] + ([tail] if tail else [])


def neutral(info):
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 1
    return info


def write_layer(root, names, sink):
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            tar.add(os.path.join(root, name), arcname="app/" + name, filter=neutral)


def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def main():
    root = sys.argv[1]
    layers = []
    for names in parts(root):
        hashing = Hashing()
        write_layer(root, names, hashing)
        layers.append((names, hashing.sha.hexdigest(), hashing.size))
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha for _, sha, _ in layers]},
        }
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for names, sha, size in layers:
            info = tarfile.TarInfo(sha + "/layer.tar")
            info.size = size
            # The content follows its header, made again instead of kept.
            tar.addfile(info)
            write_layer(root, names, tar.fileobj)
            tar.offset += size
        add(tar, config_name, config)
        manifest = [
            {
                "Config": config_name,
                "RepoTags": ["bench:1"],
                "Layers": [sha + "/layer.tar" for _, sha, _ in layers],
            }
        ]
        add(tar, "manifest.json", json.dumps(manifest).encode())


main()
