# One machine with an NVIDIA L4 at Google Cloud, its disk for the catalogue, and who may reach it.
#
#     terraform init && terraform apply -var project=... -var image=... -var 'admins=["203.0.113.7/32"]'

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.0"
    }
  }
}

provider "google" {
  project = var.project
  zone    = var.zone
}

data "google_compute_image" "ubuntu" {
  family  = "ubuntu-2404-lts-amd64"
  project = "ubuntu-os-cloud"
}

resource "google_compute_firewall" "admins" {
  name          = "songkin-admins"
  network       = var.network
  source_ranges = var.admins
  target_tags   = ["songkin"]
  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

resource "google_compute_firewall" "clients" {
  count         = length(var.clients) > 0 ? 1 : 0
  name          = "songkin-clients"
  network       = var.network
  source_ranges = var.clients
  target_tags   = ["songkin"]
  allow {
    protocol = "tcp"
    ports    = var.ports
  }
}

# It outlives the machine.
resource "google_compute_disk" "data" {
  name = "songkin-data"
  size = var.data_gib
  type = "pd-balanced"

  lifecycle {
    prevent_destroy = true
  }
}

# Nothing at Google's needs its rights.
resource "google_service_account" "songkin" {
  account_id = "songkin"
}

resource "google_compute_instance" "songkin" {
  name         = "songkin"
  machine_type = var.machine
  tags         = ["songkin"]

  boot_disk {
    initialize_params {
      image = data.google_compute_image.ubuntu.self_link
      size  = 60
    }
  }
  attached_disk {
    source      = google_compute_disk.data.self_link
    device_name = "songkin-data"
  }
  network_interface {
    network = var.network
    access_config {}
  }
  service_account {
    email  = google_service_account.songkin.email
    scopes = []
  }
  scheduling {
    # Machines with a card cannot be moved while they run.
    on_host_maintenance = "TERMINATE"
    automatic_restart   = true
  }
  shielded_instance_config {
    # The driver's module is built on the machine and not signed.
    enable_secure_boot          = false
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }
  metadata = {
    user-data = templatefile("${path.module}/../cloud-init.yaml.tftpl", {
      image        = var.image
      data_device  = "/dev/disk/by-id/google-songkin-data"
      compose      = filebase64("${path.module}/../../../docker/compose.yaml")
      compose_cuda = filebase64("${path.module}/../../../docker/compose.cuda.yaml")
      haproxy      = filebase64("${path.module}/../../machine/haproxy.cfg")
      handover     = filebase64("${path.module}/../../machine/songkin-handover")
    })
  }

  lifecycle {
    # A newer Ubuntu is no reason for a new machine.
    ignore_changes = [boot_disk[0].initialize_params[0].image]
  }
}

output "address" {
  value = google_compute_instance.songkin.network_interface[0].access_config[0].nat_ip
}
