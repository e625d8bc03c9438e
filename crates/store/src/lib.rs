//! Models on this device: pulled, listed, verified, described by a Modelfile, packed.
