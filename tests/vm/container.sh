#!/bin/sh
# Starts the image's own systemd on this kernel, in namespaces, as a container engine
# would: no emulation, so it serves after seconds. What a container is given follows
# https://systemd.io/CONTAINER_INTERFACE/ and systemd-nspawn(1).
#
#   container.sh IMAGE OFFSET FOLDER VOLUME LINK HARDWARE-ADDRESS
#
# OFFSET is where the root begins in the image, in bytes. FOLDER has the folder
# `credentials`. VOLUME is the data partition, made when it is missing. LINK is the name of the device on this
# side, which is put on the bridge of the test.
set -eu
image=$1 offset=$2 folder=$3 volume=$4 link=$5 hardware_address=$6
bridge=mail0

# A network of its own, with one card that DHCP configures as a machine's.
touch "$folder/network"
unshare --net="$folder/network" true
ip link add "$link" type veth peer name host0 address "$hardware_address" netns "$folder/network"
ip link set "$link" master "$bridge"
ip link set "$link" up

# A control group of its own: systemd takes the one it is started in for the root.
groups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
mkdir "$groups/$(basename "$folder")"
echo 0 > "$groups/$(basename "$folder")/cgroup.procs"

# The data partition, of the size and with the options that a machine has.
if [ ! -e "$volume" ]; then
    truncate -s 5G "$volume"
    mkfs.ext4 -q -i 8192 -L var "$volume"
fi

# Nothing inside sets the clock of this side or changes its kernel.
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio \
    nsenter --net="$folder/network" \
    unshare --mount --pid --uts --ipc --cgroup --fork --kill-child --propagation private \
    sh -eu -c '
image=$1 offset=$2 folder=$3 volume=$4
root=$folder/root
mkdir "$root"
mount -t erofs -o "ro,loop,offset=$offset" "$image" "$root"
mount -t ext4 -o loop,noatime,nodev,nosuid,noexec "$volume" "$root/var"
rm -df "$root/var/lost+found"
mount -t tmpfs -o mode=755,nodev,nosuid tmpfs "$root/run"
mount -t tmpfs -o mode=1777,nodev,nosuid tmpfs "$root/tmp"

mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777,nodev,nosuid tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

# Of the kernel of this side the container sees its network, and changes nothing else.
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"

# Cards of machines have no kind, that of a container is a pair of ends.
mkdir -p "$root/run/systemd/network"
sed "s/^Type=.*/Name=host0/; s/^Kind=.*//" "$root"/usr/lib/systemd/network/*-mailimg.network \
    > "$root/run/systemd/network/10-container.network"
mkdir -p "$root/run/host"
cp -a "$folder/credentials" "$root/run/host/credentials"

# What remains of this side goes: systemd finds its root, and nothing besides.
cd "$root"
pivot_root . mnt
umount -l /mnt
# Mounts of helpers, credentials of services among them, have to be seen by all.
mount --make-rshared /
echo "starting systemd"
exec env -i container=other PATH=/usr/sbin:/usr/bin CREDENTIALS_DIRECTORY=/run/host/credentials \
    /usr/lib/systemd/systemd --log-target=console < /dev/null
' container "$image" "$offset" "$folder" "$volume"
