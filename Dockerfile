# The recipe "On a robot" of README.md in a container. Untested: no container runtime was available.
#   docker build -t vpr_ros . && docker run --network host vpr_ros image:=/camera/image_raw
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base
SHELL ["/bin/bash", "-c"]
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv g++
COPY . /root/ros2_ws/src/vpr_ros
WORKDIR /root/ros2_ws
# Skip the git clone: the sources have been copied.
RUN source /opt/ros/$ROS_DISTRO/setup.bash && rosdep update --rosdistro $ROS_DISTRO && \
    source <(sed -n '/^## On a robot/,/^    \. install/s/^    //p' src/vpr_ros/README.md | sed 1d)
ENTRYPOINT ["/bin/bash", "-c", \
    "source .venv/bin/activate && source install/setup.bash && exec ros2 launch vpr_ros vpr.launch.py \"$@\"", "vpr"]
