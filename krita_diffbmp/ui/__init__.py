"""The plugin's window: Qt widgets, the artist's choices, and the actions behind the buttons."""
