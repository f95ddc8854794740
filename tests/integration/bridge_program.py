"""The program of the lifecycle tests: five kinds of resources, twice, with what the steps change as fields."""

from __future__ import annotations

from dataclasses import dataclass, field

import pulumi_docker
from pulumi import ResourceOptions


@dataclass
class Wanted:
    """What the program states; the steps change it."""

    prefix: str
    context: str
    restart: str = "no"
    env: str = "STEP=first"
    network_attachable: bool = False
    second_label: str = "first"
    keep_locally: bool = False
    trigger: str = "first"
    tag_trigger: str = "first"
    tag: str = "first"
    volume_name: str = "volume"
    import_ids: dict[str, str] = field(default_factory=dict)

    def program(self) -> None:
        """State the resources. Long, as it is the list of their arguments."""
        name = self.prefix
        network = pulumi_docker.Network(
            "network",
            name=f"{name}-network",
            attachable=self.network_attachable,
            labels=[pulumi_docker.NetworkLabelArgs(label="made-by", value="test")],
        )
        volume = pulumi_docker.Volume(
            "volume",
            name=f"{name}-{self.volume_name}",
            labels=[
                pulumi_docker.VolumeLabelArgs(label="made-by", value="test"),
                pulumi_docker.VolumeLabelArgs(label="also", value="test"),
            ],
        )
        image = pulumi_docker.RemoteImage(
            "image",
            name=f"{name}:image",
            build=pulumi_docker.RemoteImageBuildArgs(context=self.context),
            triggers={"context": self.trigger},
            keep_locally=self.keep_locally,
        )
        pulumi_docker.Tag(
            "tag", source_image=image.image_id, target_image=f"{name}:{self.tag}", tag_triggers=[self.tag_trigger]
        )
        pulumi_docker.Container(
            "container",
            name=f"{name}-container",
            image=image.image_id,
            command=["sleep", "600"],
            envs=[self.env],
            restart=self.restart,
            networks_advanced=[pulumi_docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=["one", "two"])],
            volumes=[pulumi_docker.ContainerVolumeArgs(volume_name=volume.name, container_path="/data")],
            ports=[pulumi_docker.ContainerPortArgs(internal=8080, ip="127.0.0.1")],
            healthcheck=pulumi_docker.ContainerHealthcheckArgs(tests=["CMD", "true"], interval="500ms"),
            capabilities=pulumi_docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            wait=True,
            memory=64,
            memory_swap=64,
            read_only=True,
            log_opts={"max-size": "1m"},
            security_opts=["no-new-privileges:true"],
            destroy_grace_seconds=1,
        )
        self._second_set()

    def _second_set(self) -> None:
        """State what somebody else will remove. Many arguments, so that "nothing changes" says something."""
        name = f"{self.prefix}-gone"
        network_label = pulumi_docker.NetworkLabelArgs(label="step", value=self.second_label)
        volume_label = pulumi_docker.VolumeLabelArgs(label="step", value=self.second_label)
        pulumi_docker.Network("gone-network", name=f"{name}-network", labels=[network_label])
        pulumi_docker.Volume("gone-volume", name=f"{name}-volume", labels=[volume_label])
        image = pulumi_docker.RemoteImage(
            "gone-image", name=f"{self.prefix}:gone", build=pulumi_docker.RemoteImageBuildArgs(context=self.context)
        )
        pulumi_docker.Tag("gone-tag", source_image=image.name, target_image=f"{self.prefix}:gone-tag")
        pulumi_docker.Container(
            "gone-container",
            name=f"{name}-container",
            image=image.name,
            start=False,
            must_run=False,
            command=["true"],
            network_mode="bridge",
            envs=["B=2", "A=1"],
            labels=[
                pulumi_docker.ContainerLabelArgs(label="b", value="2"),
                pulumi_docker.ContainerLabelArgs(label="a", value=""),
            ],
            ports=[
                pulumi_docker.ContainerPortArgs(internal=81, ip="127.0.0.1"),
                pulumi_docker.ContainerPortArgs(internal=53, ip="127.0.0.1", protocol="udp"),
            ],
            mounts=[pulumi_docker.ContainerMountArgs(target="/mnt", type="tmpfs")],
            tmpfs={"/run": "size=1m", "/tmp": ""},  # noqa: S108 - inside the container
            uploads=[pulumi_docker.ContainerUploadArgs(file="/etc/uploaded", content="text", permissions="0600")],
            ulimits=[pulumi_docker.ContainerUlimitArgs(name="nofile", soft=1024, hard=2048)],
            hosts=[pulumi_docker.ContainerHostArgs(host="one", ip="192.0.2.1")],
            dns=["192.0.2.3", "192.0.2.2"],
            sysctls={"net.core.somaxconn": "512"},
            group_adds=["5", "4"],
            user="10001:10001",
            hostname="host",
            working_dir="/mnt",
            shm_size=32,
            init=True,
            stop_timeout=5,
            cpus="0.5",
            publish_all_ports=False,
        )
        for kind, id_ in self.import_ids.items():
            resource = getattr(pulumi_docker, kind.capitalize())
            resource(f"imported-{kind}", name=f"{self.prefix}-imported", opts=ResourceOptions(import_=id_))
