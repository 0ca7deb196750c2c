# Read by every interactive bash.
[ -z "${PS1-}" ] && return
unset HISTFILE
shopt -s checkwinsize
PS1='\u@\h:\w\$ '
