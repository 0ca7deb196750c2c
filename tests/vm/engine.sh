#!/bin/sh
# A place where a container engine finds what a host of today has, whatever this one has:
# control groups of version 2 alone at /sys/fs/cgroup, and a network with one card. Stays
# until it is ended; commands are run inside with nsenter(1).
#
#   engine.sh FOLDER VOLUME LINK HARDWARE-ADDRESS ADDRESS GATEWAY ADDRESS6 GATEWAY6
#
# VOLUME is a data partition as machines have it, made when it is missing; it is mounted
# at FOLDER/var.
set -eu
folder=$1 volume=$2 link=$3 hardware_address=$4
bridge=mail0

touch "$folder/network"
unshare --net="$folder/network" true
ip link add "$link" type veth peer name eth0 address "$hardware_address" netns "$folder/network"
ip link set "$link" master "$bridge"
ip link set "$link" up
nsenter --net="$folder/network" sh -eu -c '
ip link set lo up
ip link set eth0 up
ip address add "$1/24" dev eth0
ip route add default via "$2"
ip address add "$3/64" dev eth0 nodad
ip route add default via "$4"' network "$5" "$6" "$7" "$8"

if [ ! -e "$volume" ]; then
    truncate -s 5G "$volume"
    mkfs.ext4 -q -i 8192 -L var "$volume"
fi
mkdir "$folder/var"

groups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
mkdir "$groups/$(basename "$folder")"
echo 0 > "$groups/$(basename "$folder")/cgroup.procs"
exec unshare --mount --cgroup --propagation private sh -eu -c '
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t ext4 -o loop,noatime,nodev,nosuid,noexec "$2" "$1/var"
rm -df "$1/var/lost+found"
echo "ready for an engine"
exec sleep infinity' place "$folder" "$volume"
