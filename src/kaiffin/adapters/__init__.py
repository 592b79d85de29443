"""What is trained: small weights beside a frozen base, and everything about them."""
