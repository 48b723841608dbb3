"""Where somebody speaks, and how that is cut into windows for the model. The plan of windows is a value.

No model of language and no decoder in here: samples come in, window boundaries go out.
"""
