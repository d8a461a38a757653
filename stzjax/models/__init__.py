"""Graph networks that point at the atoms which will move first."""
