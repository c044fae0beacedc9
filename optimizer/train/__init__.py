"""The one training loop, its schedule and its losses: fine-tuning and distillation are the same loop."""
