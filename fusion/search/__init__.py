"""The automatic strategy: recipes are proposed, tried and measured on this machine until the budget's time is up."""
