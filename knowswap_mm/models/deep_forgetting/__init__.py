"""Features and answers of forgotten classes made like those of classes that were never seen."""
