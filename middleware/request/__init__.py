"""What a request carries and how its body and its response are encoded and decoded."""
