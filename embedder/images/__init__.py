"""Image files to upright sRGB: formats, headers, color conversion, decoding."""
