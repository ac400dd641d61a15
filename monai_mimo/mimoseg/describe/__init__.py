"""What is in a built set: its data card, its statistics, and their tables and charts."""
