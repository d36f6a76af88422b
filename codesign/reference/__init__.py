"""The two references: what a graph computes, and what the machine does with a program."""
