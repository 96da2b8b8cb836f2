"""What is measured, side by side with peers. Never imported by the product."""
