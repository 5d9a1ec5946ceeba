"""HeadCLIP: learned prompts and learned head weights on a frozen CLIP."""
