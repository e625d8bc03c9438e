//! Files to named tensors and back: GGUF and safetensors. Pure functions of bytes, plus one memory mapping.
