#!/usr/bin/env bash
# Make the disk that tools/boot/check.py boots: Debian 12 with systemd, cloud-init and sshd, and the kernel beside it.
#
#     tools/boot/image.sh DIRECTORY      leaves disk.raw, vmlinuz and initrd there
#
# Needs root (mmdebstrap makes device nodes), mmdebstrap, mke2fs and a Debian mirror. There is no boot loader: qemu
# is given the kernel.
set -euo pipefail

into=$(realpath -m "$1")
guest=$(dirname "$(realpath "$0")")/guest
root=$into/root

mkdir -p "$into"
rm -rf "$root"
mmdebstrap --mode=root --variant=minbase --quiet \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --include=systemd-sysv,dbus,libpam-systemd,systemd-resolved,udev,linux-image-cloud-amd64,initramfs-tools \
  --include=cloud-init,netplan.io,openssh-server,sudo,iproute2,util-linux \
  bookworm "$root"

# As an image of gputx has it: the login user exists before cloud-init runs, and Python is where the contract says.
chroot "$root" useradd --create-home --shell /bin/bash ubuntu
mkdir -p "$root/opt/transcribe/venv/bin"
ln -s /usr/bin/python3 "$root/opt/transcribe/venv/bin/python"

cp "$guest/cloud.cfg" "$root/etc/cloud/cloud.cfg.d/99-boot-check.cfg"
install -m 755 "$guest/boot-report" "$root/usr/local/sbin/boot-report"
cp "$guest"/*.service "$root/etc/systemd/system/"
systemctl --root="$root" --quiet enable boot-report.service boot-hang.service boot-no-systemd-run.service boot-stuck.service
# What only costs minutes under emulation.
systemctl --root="$root" --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer
echo "/dev/vda / ext4 defaults 0 1" > "$root/etc/fstab"
rm -f "$root"/etc/ssh/ssh_host_*
: > "$root/etc/machine-id"

cp "$root"/boot/vmlinuz-* "$into/vmlinuz"
cp "$root"/boot/initrd.img-* "$into/initrd"
rm -f "$into/disk.raw"
mke2fs -q -t ext4 -d "$root" "$into/disk.raw" 1500M
rm -rf "$root"
