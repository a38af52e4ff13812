# One machine with an NVIDIA L4 at AWS, its disk for the catalogue, and who may reach it.
#
#     terraform init && terraform apply -var image=... -var key_name=... -var 'admins=["203.0.113.7/32"]'

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

provider "aws" {
  region = var.region
}

data "aws_vpc" "default" {
  default = true
}

# One subnet, and so one zone, for the machine and its disk.
data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
  filter {
    name   = "availability-zone"
    values = [var.zone]
  }
}

# Canonical's own.
data "aws_ami" "ubuntu" {
  most_recent = true
  owners      = ["099720109477"]
  filter {
    name   = "name"
    values = ["ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"]
  }
}

resource "aws_security_group" "songkin" {
  name_prefix = "songkin-"
  description = "Songkin"
  vpc_id      = data.aws_vpc.default.id

  ingress {
    description = "SSH"
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = var.admins
  }
  dynamic "ingress" {
    for_each = length(var.clients) > 0 ? var.ports : []
    content {
      description = "HTTP"
      from_port   = ingress.value
      to_port     = ingress.value
      protocol    = "tcp"
      cidr_blocks = var.clients
    }
  }
  egress {
    description = "Packages and images"
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

# It outlives the machine.
resource "aws_ebs_volume" "data" {
  availability_zone = var.zone
  size              = var.data_gib
  type              = "gp3"
  encrypted         = true
  tags              = { Name = "songkin-data" }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_volume_attachment" "data" {
  device_name                    = "/dev/sdf"
  volume_id                      = aws_ebs_volume.data.id
  instance_id                    = aws_instance.songkin.id
  stop_instance_before_detaching = true
}

resource "aws_instance" "songkin" {
  ami                    = data.aws_ami.ubuntu.id
  instance_type          = var.machine
  key_name               = var.key_name
  subnet_id              = data.aws_subnets.default.ids[0]
  vpc_security_group_ids = [aws_security_group.songkin.id]
  user_data = templatefile("${path.module}/../cloud-init.yaml.tftpl", {
    image = var.image
    # Nitro machines show an EBS volume under its id.
    data_device  = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(aws_ebs_volume.data.id, "-", "")}"
    compose      = filebase64("${path.module}/../../../docker/compose.yaml")
    compose_cuda = filebase64("${path.module}/../../../docker/compose.cuda.yaml")
    haproxy      = filebase64("${path.module}/../../machine/haproxy.cfg")
    handover     = filebase64("${path.module}/../../machine/songkin-handover")
  })

  metadata_options {
    http_tokens = "required"
  }
  root_block_device {
    volume_size = 60
    volume_type = "gp3"
    encrypted   = true
  }
  tags = { Name = "songkin" }

  lifecycle {
    # A newer Ubuntu is no reason for a new machine.
    ignore_changes = [ami]
  }
}

output "address" {
  value = aws_instance.songkin.public_ip
}
