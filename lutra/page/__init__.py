"""What a model is and costs, as a page to look at: `lutra report`, `Model.plot`."""
