"""From trained networks to the float network (``codesign.frontend.network``) that the quantiser
takes.
"""
