"""Publishers' layouts and generators; nothing at training time imports them."""
