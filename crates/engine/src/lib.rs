//! Tensors to logits to text: architectures, the forward pass, KV cache, sampler, tokenizers, templates, thread pool.
