"""The encoder of wav2vec 2.0 base with all of its 12 layers: what a step of pretraining spends most
of its time in, and what transcribes.
"""

from . import wav2vec2
from .wav2vec2 import infer_inputs, train_inputs

__all__ = ["Model", "infer_inputs", "train_inputs"]


class Model(wav2vec2.Model):
    def __init__(self):
        super().__init__(layers=12)
