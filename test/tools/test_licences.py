# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every package and model is listed with its licence."""

from email.message import Message

from tools import licences


def about(**fields):
    message = Message()
    message["Name"] = "some-package"
    for key, value in fields.items():
        message[key.replace("_", "-")] = value
    return message


def test_an_expression_goes_before_a_classifier_and_that_before_a_text():
    classifier = "License :: OSI Approved :: MIT License"
    found = about(License="a text\nof many lines", Classifier=classifier)
    assert licences.licence(found) == "MIT License"
    found["License-Expression"] = "MIT"
    assert licences.licence(found) == "MIT"
    assert licences.licence(about(License="a text\nof many lines")) == "a text"
    assert licences.licence(about(License="UNKNOWN")) == "not stated"


def test_what_the_package_needs_is_listed_once_with_what_that_needs():
    rows = list(licences.dependencies())
    names = [name.lower() for name, _, _, _ in rows]
    assert len(set(names)) == len(names)
    assert {"numpy", "onnxruntime", "protobuf", "pytest"} <= set(names)


def test_every_shipped_model_names_its_licence():
    assert all(licence for _, _, licence, _ in licences.models())
    assert {name for name, _, _, _ in licences.models()} >= {"mobilenetv2-gem"}
