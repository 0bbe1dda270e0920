"""Images: their store, formats and inspection."""
