"""What the guard lets pass: pure rules on calls and their bodies, which ask nobody."""
