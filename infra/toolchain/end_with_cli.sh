#!/bin/sh
# Starts the program of its own name with `.bin` at the end, and ends it when the Pulumi CLI has ended, even by `kill -9`.
#
# The CLI makes each plugin the leader of a process group and holds the plugin's standard input open as long as it lives.
# So the end of that pipe is the end of the CLI, and the group is the plugin with all that it has started. The kernel's
# parent-death signal would reach only the plugin itself, and also when a mere thread of the CLI ends.
if [ -p /dev/stdin ]; then
  exec 3<&0 </dev/null
  # What runs beside a script ignores the SIGINT by which the CLI ends a plugin, so this watches until the very end.
  {
    while read -r _; do :; done
    kill -s KILL -- "-$$"
  } <&3 >/dev/null 2>&1 &
  exec 3<&-
fi
exec "$0.bin" "$@"
