"""What a program costs, from closed forms."""
