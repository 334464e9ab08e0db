"""Other libraries' forms of the workloads, one file each, imported in a worker only.

Each offers `make(workload, mode, device) -> Contestant`: the same shapes, inputs, weights and Adam,
the library's own neurons. Where its equations differ the file says how; they cost the same unless
it says otherwise. Libraries in PyTorch flatten images channels first, so `conv` pairs its last
weights with other inputs there.
"""

# Library, modes that are measured, and the packages behind it.
PEERS = {
    "spyx": ("",),
    "spikingjelly": ("",),
    "snntorch": ("", "compile"),
    "norse": ("",),
    "sinabs": ("",),
}
