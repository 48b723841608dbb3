#!/usr/bin/env bash
# NVIDIA's driver, of a branch that Ubuntu builds and signs for its kernels: nothing is compiled here.
source "${AMI_ROOT:?}/lib.sh"

main() {
    local kernel running branch=$DRIVER_BRANCH-server modules packages package
    kernel=$(newest_kernel)
    running=$(uname -r)
    [[ -n $kernel ]] || die "$UNFIT" "there is no kernel in /lib/modules to bring a driver for"
    say "kernel $kernel, driver branch $DRIVER_BRANCH"
    modules=("linux-modules-nvidia-$branch-$kernel")
    # An update before this one may have brought a kernel that boots next. The bake needs the driver in this one.
    if [[ $running != "$kernel" && -d /lib/modules/$running/kernel ]]; then
        modules+=("linux-modules-nvidia-$branch-$running")
    fi
    # Not nvidia-headless-no-dkms, which is these and 84 MB of the driver's source. libnvidia-cfg1 is persistenced's.
    packages=("libnvidia-compute-$branch" "libnvidia-cfg1-$branch" "nvidia-compute-utils-$branch"
        "nvidia-utils-$branch")
    apt_install "${modules[@]}" "${packages[@]}"
    # The image must not boot a kernel that it has no modules for.
    for package in linux-aws linux-image-aws linux-headers-aws linux-image-generic "linux-image-$kernel" \
        "${modules[@]}" "${packages[@]}"; do
        if is_installed "$package"; then
            apt-mark hold "$package"
        fi
    done
    put /etc/modules-load.d/gputx-nvidia.conf <<'END'
nvidia
nvidia_uvm
END
    # Ubuntu's unit lets the GPU go to sleep between two programs; the first that comes then waits for it to wake.
    # Awake, it is made ready at boot beside everything else.
    put /etc/systemd/system/nvidia-persistenced.service.d/gputx.conf <<'END'
[Service]
ExecStart=
ExecStart=/usr/bin/nvidia-persistenced --user nvidia-persistenced --verbose
END
    depmod "$kernel"
    modinfo --set-version "$kernel" --field version nvidia ||
        die "$UNFIT" "${modules[0]} is installed, and brings no module for $kernel"
    has_gpu || die "$UNFIT" "there is no NVIDIA GPU in this machine"
    [[ ! -e /sys/module/nouveau ]] || modprobe -r nouveau
    modprobe --all nvidia nvidia_uvm
    nvidia-smi || die "$UNFIT" "the driver is installed, and nvidia-smi does not see a GPU"
}

# The one that boots: the newest that is installed.
newest_kernel() {
    local folder
    for folder in /lib/modules/*/kernel; do
        basename "$(dirname "$folder")"
    done | sort -V | tail -n 1
}

# 0x10de is NVIDIA's vendor number; pciutils need not be there.
has_gpu() {
    grep -qs 0x10de /sys/bus/pci/devices/*/vendor
}

main
