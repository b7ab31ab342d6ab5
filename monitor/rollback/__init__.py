"""Whether, where and how an alias moves back; the registries."""
