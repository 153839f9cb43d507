"""Files on disk: an atomic writer, checked readers, and safetensors."""
