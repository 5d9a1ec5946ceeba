"""AdaCLIP: hybrid learnable prompts in both towers."""
