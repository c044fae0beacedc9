"""What a recipe may say: one file a technique, each a frozen config with its stage, order rules and search domain."""
