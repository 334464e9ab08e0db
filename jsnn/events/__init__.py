"""Inputs as events: sparse frames, the synapse that reads them, and 0/1 frames at one bit a value.

Most inputs of a recorded frame are zero. `pack` lists the others, `jsnn.nn.layers.Spiking` takes
the lists in place of the dense frames, and `choose` says whether that pays. Where the frames must
be dense, `pack_bits` keeps 0/1 frames on the device in a 32nd of their float32 memory.
"""

from jsnn.events.bits import BitFrames, pack_bits, unpack_bits
from jsnn.events.frames import EventFrames, dense, pack
from jsnn.events.rule import Choice, choose
from jsnn.events.synapse import currents

__all__ = [
    "BitFrames",
    "Choice",
    "EventFrames",
    "choose",
    "currents",
    "dense",
    "pack",
    "pack_bits",
    "unpack_bits",
]
