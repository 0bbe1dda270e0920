"""Several compute hosts on one machine, each in namespaces with a libvirtd of its own.

A tool for whoever tries or develops Nacelle; nothing that serves anybody imports it.
"""
