variable "image" {
  description = "The image for CUDA, with a registry that the machine may pull from, pinned by digest"
  type        = string
}

variable "project" {
  description = "The project at Google Cloud; SSH keys come from its metadata"
  type        = string
}

variable "network" {
  type    = string
  default = "default"
}

variable "admins" {
  description = "Address ranges that may use SSH"
  type        = list(string)
}

variable "clients" {
  description = "Address ranges that may ask; keep it closed until keys are made"
  type        = list(string)
  default     = []
}

variable "ports" {
  description = "Ports that haproxy listens on"
  type        = list(number)
  default     = [80, 443]
}

variable "zone" {
  type    = string
  default = "europe-west4-a"
}

variable "machine" {
  description = "With an NVIDIA card: g2-standard-4 has an L4, 4 cores and 16 GiB"
  type        = string
  default     = "g2-standard-4"
}

variable "data_gib" {
  description = "Size of the disk for catalogue and music, GiB"
  type        = number
  default     = 200
}
