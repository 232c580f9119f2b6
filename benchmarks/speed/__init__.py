"""What a trial costs beside one that is written with Keras, KerasTuner and QKeras; parts of `trial_speed.py`."""
