"""Edgerec and other tools on the same models, data and machine: `python -m edgerec.benchmarks.peers`.

A peer is one stand-alone file. It runs in a virtual environment of its own, as

    python peer_file.py MODEL CALIBRATION OUTPUT [OPTION ...]

writes the quantized OUTPUT, prints one JSON line such as `{"seconds": 3.2}` (the quantization alone, without imports), and ends with 0.
MODEL is a float ONNX file. CALIBRATION is an `.npz` with one array for each image and input, called `NUMBER/INPUT` (`0/input`, `1/input`
...), each a ready batch of one, so that a tool can read image by image. What must be installed stands in the file's head, as inline script
metadata (PEP 723). The file imports nothing of edgerec. `registry.PEERS` lists ours; `--peer FILE` adds another.
"""
