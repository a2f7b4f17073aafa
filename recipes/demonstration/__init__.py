"""The development data -> manifests.

    fights     T1  violence           clips, optical flow
    aerial     T2  restricted_object  clips, kinematics of box tracks
    clickbait  T3  clickbait          titles, engagement
    trending   T4  news_politics      titles and tags, engagement
    tasks      all four as one multi-task manifest

``csv_table`` reads the tables, ``engagement`` makes the features that T3 and T4 share. Ids and groups carry
the task's name, so that they cannot collide.
"""
