"""What the API says about itself: documents, health, figures, and what its errors mean."""
